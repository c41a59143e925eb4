// What script adds to the pages: each addition is invisible until it works, and every page works without it.

const LIVE_SEARCH_DELAY = 200;
const COPIED_FOR = 1500;

const live = document.createElement("p");
live.className = "hide";
live.setAttribute("role", "status");
document.body.append(live);

function say(text) {
  live.textContent = "";
  live.textContent = text;
}

async function copy(text, button) {
  await navigator.clipboard.writeText(text);
  const label = [...button.childNodes].find((node) => node.nodeType === Node.TEXT_NODE) ?? button;
  button.dataset.label ??= label.textContent;
  label.textContent = "Copied";
  say("Copied");
  clearTimeout(button.copied);
  button.copied = setTimeout(() => { label.textContent = button.dataset.label; }, COPIED_FOR);
}

// Copy

if (navigator.clipboard) {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", () => copy(document.getElementById(button.dataset.copy).textContent, button));
  }
  for (const link of document.querySelectorAll("[data-copy-from]")) {
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
  }
}

// Tabs that remember the reader's choice, on this page and the next

function choose(kind, value) {
  for (const input of document.querySelectorAll(`[data-remember="${kind}"]`)) {
    if (input.value === value) input.checked = true;
  }
}

const kinds = new Set([...document.querySelectorAll("[data-remember]")].map((input) => input.dataset.remember));
for (const kind of kinds) {
  try {
    const chosen = localStorage.getItem(`keyturn-${kind}`);
    if (chosen) choose(kind, chosen);
  } catch { /* Storage can be switched off. */ }
}
document.addEventListener("change", (event) => {
  const { remember } = event.target.dataset;
  if (!remember) return;
  choose(remember, event.target.value);
  try {
    localStorage.setItem(`keyturn-${remember}`, event.target.value);
  } catch { /* The same. */ }
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
