// Drives ali-oss through its surface and prints what it found as JSON.
// Arguments: endpoint, key id, secret, bucket, "path" or "virtual", a directory for files.
const fs = require("fs");
const http = require("http");
const path = require("path");
const { createRequire } = require("module");
const OSS = createRequire(path.join(process.cwd(), "x.js"))("ali-oss");

const [endpoint, accessKeyId, accessKeySecret, bucket, style, directory] = process.argv.slice(2);
const AWKWARD = "js/a b+é!'()*~&=%25.txt";

// Host names under the cloud's domain resolve nowhere: this agent answers for them, the client stays as it is.
const lookup = (host, options, done) =>
  options.all ? done(null, [{ address: "127.0.0.1", family: 4 }]) : done(null, "127.0.0.1", 4);

function client(authorizationV4, changes) {
  const addressing =
    style === "virtual"
      ? { endpoint: endpoint.replace("127.0.0.1", "oss.local"), agent: new http.Agent({ lookup }) }
      : { endpoint, sldEnable: true };
  return new OSS({
    region: "oss-cn-hangzhou",
    accessKeyId,
    accessKeySecret,
    bucket,
    authorizationV4,
    ...addressing,
    ...changes,
  });
}

async function refusal(call) {
  try {
    await call();
    return "none";
  } catch (error) {
    return error.code;
  }
}

async function surface(v4) {
  const c = client(v4, {});
  const told = {};
  const file = path.join(directory, "file.bin");
  fs.writeFileSync(file, Buffer.alloc(1000000, 7));
  await c.put(AWKWARD, Buffer.from("hello"), { meta: { x: "1" } });
  told.got = (await c.get(AWKWARD)).content.toString();
  told.meta = (await c.head(AWKWARD)).meta;
  await c.putStream("js/stream", fs.createReadStream(file));
  told.streamed = (await c.head("js/stream")).res.headers["content-length"];
  await c.multipartUpload("js/multi", file, { partSize: 200 * 1024, parallel: 3 });
  told.multi = (await c.head("js/multi")).res.headers["x-oss-object-type"];
  told.listed = (await c.list({ prefix: "js/", "max-keys": 2 })).objects.map((o) => o.name);
  told.listedV2 = (await c.listV2({ prefix: "js/", delimiter: "/" })).objects.map((o) => o.name);
  await c.copy("js/copy", "js/multi");
  await c.multipartUploadCopy("js/copy2", { sourceKey: "js/multi", sourceBucketName: bucket }, { partSize: 256 * 1024 });
  told.copied = Buffer.compare((await c.get("js/copy2")).content, fs.readFileSync(file));
  await c.putObjectTagging("js/copy", { a: "1", b: "2" });
  told.tags = (await c.getObjectTagging("js/copy")).tag;
  const appended = await c.append("js/log", Buffer.from("abc"));
  told.position = (await c.append("js/log", Buffer.from("def"), { position: appended.nextAppendPosition })).nextAppendPosition;
  await c.putSymlink("js/link", "js/copy", {});
  told.link = (await c.getSymlink("js/link")).targetName;
  const { uploadId } = await c.initMultipartUpload("js/half");
  told.uploads = (await c.listUploads({ "max-uploads": 10 })).uploads.length;
  // A single part would come back as itself and not as a list: such is this client.
  for (const number of [1, 2]) await c.uploadPart("js/half", uploadId, number, file, 0, 100);
  told.parts = (await c.listParts("js/half", uploadId)).parts.length;
  await c.abortMultipartUpload("js/half", uploadId);
  await c.putACL("js/copy", "public-read");
  told.acl = (await c.getACL("js/copy")).acl;
  told.location = (await c.getBucketInfo(bucket)).bucket.Location;
  told.buckets = (await c.listBuckets()).buckets.map((b) => b.name);
  const all = (await c.list({ prefix: "js/" })).objects.map((o) => o.name);
  told.deleted = (await c.deleteMulti(all, { quiet: false })).deleted.length;
  told.missing = await refusal(() => c.get("js/none"));
  told.missingBucket = await refusal(() => client(v4, { bucket: "never-made" }).get("k"));
  told.wrongSecret = await refusal(() => client(v4, { accessKeySecret: "wrong" }).get("k"));
  told.wrongKey = await refusal(() => client(v4, { accessKeyId: "nobody" }).get("k"));
  return told;
}

(async () => {
  console.log(JSON.stringify({ v1: await surface(false), v4: await surface(true) }));
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
