// Keeps the page fresh: fetches it again and exchanges the parts that changed.
"use strict";

const EVERY = 5000; // ms

function inUse(part) {
  return part.contains(document.activeElement) || part.querySelector("details[open]") !== null;
}

async function refresh() {
  if (document.hidden) return;
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(part.id);
    if (now && !inUse(part) && now.outerHTML !== part.outerHTML) part.replaceWith(now);
  }
}

// Too many images at once are refused; those that were come again a little later.
function retry(event) {
  const image = event.target;
  const tries = Number(image.dataset.tries || 0);
  if (image.tagName !== "IMG" || tries >= 3) return;
  setTimeout(() => {
    image.dataset.tries = tries + 1;
    image.src = image.src;
  }, 1000 * (tries + 1));
}

document.addEventListener("error", retry, true);
setInterval(() => refresh().catch(() => {}), EVERY);
