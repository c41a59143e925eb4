// Fills the ladder of a test as its steps end, and follows the work on a connection. Without it the form answers
// with the whole ladder, and a link shows how far the work is.

import { say } from "/static/face.js";

const EVERY = 1000, ICONS = { ok: "ok", failed: "fail" };
const find = (selector) => document.querySelector(selector);

const form = find("form[data-test]");
form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  document.querySelectorAll("[data-step]").forEach((rung) => show({ step: rung.dataset.step, state: "waiting" }));
  try {
    const answer = await fetch(form.action, {
      method: "POST", body: new URLSearchParams(new FormData(form)), headers: { Accept: "application/x-ndjson" },
    });
    if (!answer.ok || !answer.headers.get("content-type").startsWith("application/x-ndjson")) throw new Error();
    await lines(answer, (told) => (told.step ? show(told) : conclude(told)));
  } catch {
    form.submit(); // The answer is a page, which says what is wrong.
    return;
  }
  button.disabled = false;
});

async function lines(answer, act) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const found = (rest + value).split("\n");
    rest = found.pop();
    found.forEach((line) => act(JSON.parse(line)));
  }
}

function show({ step, state, detail = "", took = "" }) {
  const rung = find(`[data-step="${CSS.escape(step)}"]`);
  rung.className = state in ICONS ? state : "skipped";
  rung.querySelector("use").setAttribute("href", `/static/icons.svg#i-${ICONS[state] ?? (state === "begun" ? "clock" : "skip")}`);
  rung.querySelector(".muted").textContent = detail;
  rung.querySelector(".sub").textContent = state === "begun" ? "under way" : took;
}

function conclude({ title, sentence, is_ok: isOk }) {
  find("[data-verdict]").textContent = title;
  find("[data-sentence]").textContent = sentence;
  find("[data-sentence]").className = isOk ? "" : "bad";
  find("[data-next]").hidden = !isOk;
  say(`${title}. ${sentence}`);
}

const bar = find("[data-progress]");
async function follow() {
  try {
    const answer = await fetch(bar.dataset.progress);
    if (answer.status === 404) { location.assign("/connections"); return; }
    if (answer.redirected) return; // The session has ended.
    const { isOver, done, expected, told } = await answer.json();
    if (isOver) { location.reload(); return; }
    if (expected) [bar.max, bar.value] = [expected, Math.min(done, expected)];
    find("[data-told]").textContent = told;
  } catch { /* The server is away for a moment. */ }
  setTimeout(follow, EVERY);
}
if (bar) setTimeout(follow, EVERY);
