// Keeps an open page up to date: the server says that something changed, and htmx fetches the part that shows it.
// A page that nobody sees holds no connection: a browser has six for each host.
"use strict";
(() => {
  const part = document.querySelector("[data-stream]");
  if (!part) return;
  let stream = null;
  let timer = 0;
  const refresh = () => htmx.trigger(part, "changed");
  const close = () => {
    clearTimeout(timer);
    if (stream) stream.close();
    stream = null;
  };
  const open = () => {
    close();
    stream = new EventSource(part.dataset.stream);
    stream.addEventListener("changed", refresh);
    stream.addEventListener("end", close);
    // A refusal ends an EventSource: try later, and show meanwhile what is new.
    stream.addEventListener("error", () => {
      if (stream && stream.readyState !== EventSource.CLOSED) return;
      close();
      timer = setTimeout(() => { refresh(); open(); }, 15000);
    });
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { close(); return; }
    refresh();
    open();
  });
  // Focus stays where it was when the part is replaced.
  let focused = null;
  part.addEventListener("htmx:beforeSwap", () => {
    const at = document.activeElement;
    focused = part.contains(at) && at.getAttribute("href");
  });
  part.addEventListener("htmx:afterSwap", () => {
    if (!focused) return;
    const again = [...part.querySelectorAll("a[href]")].find((each) => each.getAttribute("href") === focused);
    if (again) again.focus({ preventScroll: true });
  });
  if (!document.hidden) open();
})();
