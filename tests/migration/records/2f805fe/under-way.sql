-- Rows that a record has for seconds only, while a layer is pushed, an alias is put back and a function is flipped.
-- Added after either dump is loaded, as 2f805fe writes them (state/layers.py, state/mends.py, state/warmths.py).
INSERT INTO layer_uploads (repository, recipe, location, told_at) VALUES
  ('127.0.0.1:5000/vision', 'dbeb548cdf18248ba996da28822f8b92d736fd4868458139ac1ec3fa64dbdb0e',
   'http://127.0.0.1:5000/v2/vision/blobs/uploads/7d2f?_state=x', 1796054000000000);
INSERT INTO mends (binding, subject, attempt, who, why, expects, began_at, lease_until) VALUES
  ('tilt-hz', 'tilt-hz', 1, 'root@vm', 'shares that are not ours', NULL, 1796054700000000, 1796054820000000);
INSERT INTO scalings (release_id, binding, settings, compared) VALUES
  ('r-8', 'chat-hz', '{"prod": {"concurrency": 4, "currentInstances": 1}}', false);
