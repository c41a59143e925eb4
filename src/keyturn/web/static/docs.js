// What script adds to the pages of the documentation besides: "Copy as Markdown", and search as one types.

import { copy, each, say } from "/static/face.js";

const LIVE_SEARCH_DELAY = 200;

each("[data-copy-from]", (link) => {
  if (!navigator.clipboard) return;
  link.addEventListener("click", async (event) => {
    event.preventDefault();
    try {
      const answer = await fetch(link.dataset.copyFrom, { headers: { Accept: "text/markdown" } });
      if (!answer.ok) throw new Error(answer.statusText);
      await copy(await answer.text(), link);
    } catch {
      location.href = link.href;
    }
  });
});

// Search as one types

const field = document.querySelector("[data-search]");
if (field) {
  const found = document.createElement("ul");
  found.className = "found plain-list card";
  found.hidden = true;
  found.setAttribute("aria-label", "Found");
  field.closest("form").append(found);
  let timer, latest = 0;

  async function search() {
    const question = field.value.trim(), number = ++latest;
    if (question.length < 3) { found.hidden = true; return; }
    const answer = await fetch(`/docs?ask=${encodeURIComponent(question)}`, { headers: { Accept: "application/json" } });
    if (number !== latest) return;
    found.hidden = true;
    if (!answer.ok) return;
    const { sources, related } = await answer.json();
    const places = [...sources, ...related];
    found.replaceChildren(...places.map(({ title, page }) => {
      const item = document.createElement("li"), link = document.createElement("a");
      link.href = page;
      link.textContent = title;
      item.append(link);
      return item;
    }));
    found.hidden = places.length === 0;
    say(places.length === 1 ? "1 section found" : `${places.length} sections found`);
  }

  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, LIVE_SEARCH_DELAY);
  });
  field.closest("form").addEventListener("keydown", (event) => {
    const links = [...found.querySelectorAll("a")];
    if (event.key === "Escape") { found.hidden = true; field.focus(); return; }
    if (found.hidden || !["ArrowDown", "ArrowUp"].includes(event.key)) return;
    event.preventDefault();
    const at = links.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
    (links[at] ?? field).focus();
  });
  document.addEventListener("click", (event) => {
    if (!found.contains(event.target)) found.hidden = true;
  });
}
