// Keeps a page up to date: parts with an id are replaced as the server sends them anew. The page is whole without it.
"use strict";
const address = new URL(location);
if (address.searchParams.has("said")) { // told once, and not again when the page is loaded anew
  address.searchParams.delete("said");
  history.replaceState(null, "", address);
}
const toTheEnd = () => {
  for (const log of document.querySelectorAll(".log")) log.scrollTop = log.scrollHeight;
};
let asked = 0;
async function anew() { // a job that has moved on: all that is told of it is another; what a click was answered stays
  const turn = ++asked;
  const text = await (await fetch(address)).text();
  if (turn !== asked) return; // it moved on again meanwhile
  document.querySelector("main").replaceWith(new DOMParser().parseFromString(text, "text/html").querySelector("main"));
  toTheEnd();
}
const page = document.body.dataset;
if (page.live !== undefined) {
  const source = new EventSource("/live" + (page.live ? "?id=" + encodeURIComponent(page.live) : ""));
  for (const name of ["now", "log", "status"]) {
    source.addEventListener(name, (event) => {
      const part = document.getElementById(name);
      if (!part) return;
      if (name === "status") {
        if (part.textContent.trim() !== event.data) anew();
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
toTheEnd();
