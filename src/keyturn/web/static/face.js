// What script adds to the pages: each addition is invisible until it works, and every page works without it.

const COPIED_FOR = 1500;

const live = document.createElement("p");
live.className = "hide";
live.setAttribute("role", "status");
document.body.append(live);

export function say(text) {
  live.textContent = "";
  live.textContent = text;
}

export const each = (selector, act) => document.querySelectorAll(selector).forEach(act);

export async function copy(text, button) {
  await navigator.clipboard.writeText(text);
  const label = [...button.childNodes].find((node) => node.nodeType === Node.TEXT_NODE) ?? button;
  button.dataset.label ??= label.textContent;
  label.textContent = "Copied";
  say(`Copied${button.querySelector?.(".hide")?.textContent ?? ""}`);
  clearTimeout(button.copied);
  button.copied = setTimeout(() => { label.textContent = button.dataset.label; }, COPIED_FOR);
}

// A browser may keep a page that is left, though told not to store it, and show it again with "Back". It may
// show what a sign-out has ended since: it is hidden when left, and asked for anew when shown again.

if ("leaves" in document.body.dataset) {
  addEventListener("pagehide", () => { document.body.hidden = true; });
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
}

// Moments are written in UTC until somebody chooses a zone; here they are in the zone of the browser, and the
// foot of the page says so.

const zone = document.querySelector("[data-zone]");
if (zone) {
  const full = new Intl.DateTimeFormat("en-US", { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" });
  const clock = new Intl.DateTimeFormat("en-US", { timeStyle: "medium", hourCycle: "h23" });
  const day = (date, timeZone) => date.toLocaleDateString("en-US", { month: "short", day: "numeric", timeZone });
  each("time[datetime]", (time) => {
    if (!time.dateTime.includes("T")) return;
    const date = new Date(time.dateTime), text = full.format(date);
    if ("clock" in time.dataset) {
      // The headings are days in UTC: a time that falls on another day here says so.
      time.textContent = (day(date) === day(date, "UTC") ? "" : `${day(date)} `) + clock.format(date);
      time.title = text;
    } else if ("relative" in time.dataset) time.title = text;
    else time.textContent = text;
  });
  const name = full.resolvedOptions().timeZone;
  if (name && name !== "UTC") zone.textContent = `Times are in ${name.split("/").pop().replaceAll("_", " ")} time.`;
}

// Copy

each("button[data-copy]", (button) => {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const element = document.getElementById(button.dataset.copy);
    try {
      await copy(element.textContent, button); // The clipboard is absent on plain http.
    } catch {
      getSelection().selectAllChildren(element);
      say("Not copied. The text is selected: copy it with the keyboard.");
    }
  });
});

// "Show" reveals a password while it is typed; it is hidden again before it is sent.

each("button[data-reveal]", (button) => {
  const input = document.getElementById(button.dataset.reveal);
  const show = (shown) => {
    input.type = shown ? "text" : "password";
    button.firstChild.data = shown ? "Hide" : "Show";
  };
  button.hidden = false;
  button.addEventListener("click", () => show(input.type === "password"));
  input.form.addEventListener("submit", () => show(false));
});

// The stylesheet shows the date of an expiry when it is chosen; here it becomes required.

const date = document.getElementById("expiry_date");
each("input[name=expiry]", (choice) => {
  choice.addEventListener("change", () => { date.required = choice.value === "date"; });
});

// The code of a set-up or an invitation comes behind the # of its link, which browsers do not send; it must not
// stay in the history.

const code = document.getElementById("code"), fragment = location.hash.slice(1);
if (code && fragment && !document.getElementById(fragment)) {
  code.value = fragment;
  history.replaceState(null, "", location.pathname + location.search);
  if ("sends" in code.dataset) code.form.requestSubmit();
  else document.querySelector("#userid, #password")?.focus();
}

// How many rows are ticked

each("[data-picks]", (form) => {
  form.addEventListener("change", () => {
    const number = form.querySelectorAll("tbody :checked").length, count = form.querySelector("[data-count]");
    if (count) count.textContent = number === 1 ? "1 key selected" : `${number} keys selected`;
  });
});

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
