// Keeps a page up to date: parts with an id are replaced as the server sends them anew. The page is whole without it.
"use strict";
const address = new URL(location);
if (address.searchParams.has("said")) { // told once, and not again when the page is loaded anew
  address.searchParams.delete("said");
  history.replaceState(null, "", address);
}
const page = document.body.dataset;
if (page.live !== undefined) {
  const source = new EventSource("/live" + (page.live ? "?id=" + encodeURIComponent(page.live) : ""));
  for (const name of ["now", "log", "status"]) {
    source.addEventListener(name, (event) => {
      const part = document.getElementById(name);
      if (!part) return;
      if (name === "status") { // a job that has moved on: the whole page is another
        if (part.textContent.trim() !== event.data) location.reload();
        return;
      }
      const log = part.querySelector(".log");
      const atEnd = !log || log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
      part.innerHTML = event.data; // escaped by the server
      const now = part.querySelector(".log");
      if (now && atEnd) now.scrollTop = now.scrollHeight;
    });
  }
}
for (const log of document.querySelectorAll(".log")) log.scrollTop = log.scrollHeight;
