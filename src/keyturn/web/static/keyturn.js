// What script adds. Every page works without it; what needs it is rendered `hidden` and revealed here.

const each = (selector, act) => document.querySelectorAll(selector).forEach(act);

// A browser may keep a page that is left, though told not to store it, and show it again with "Back". It may
// show what a sign-out has ended since: it is hidden when left, and asked for anew when shown again.
addEventListener("pagehide", () => {
  document.body.hidden = true;
});
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

// Moments are written in UTC; their title says them in the reader's own time zone.
const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
each("time[datetime]", (time) => {
  time.title = local.format(new Date(time.dateTime));
});

// "Copy" takes a text to the clipboard and says so, also to a screen reader.
const status = document.createElement("p");
status.className = "visually-hidden";
status.setAttribute("role", "status");
document.querySelector("main").append(status);

async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent); // absent on plain http
    return true;
  } catch {
    getSelection().selectAllChildren(element);
    return document.execCommand("copy");
  }
}

each("button[data-copy]", (button) => {
  const word = button.firstChild;
  const what = button.lastChild.textContent.trim();
  let reset;
  button.hidden = false;
  button.addEventListener("click", async () => {
    status.textContent = ""; // so that the same words are said again
    const done = await copy(document.getElementById(button.dataset.copy));
    status.textContent = done ? `Copied ${what}.` : "Not copied. The text is selected: copy it with the keyboard.";
    word.data = done ? "Copied" : "Selected";
    clearTimeout(reset);
    reset = setTimeout(() => { word.data = "Copy"; }, 3000);
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
  choice.addEventListener("change", () => {
    date.required = choice.value === "date";
  });
});

// The code of a set-up or an invitation comes behind the # of its link, which browsers do not send; it must not
// stay in the history.
const code = document.getElementById("code");
const fragment = location.hash.slice(1);
if (code && fragment && !document.getElementById(fragment)) {
  code.value = fragment;
  history.replaceState(null, "", location.pathname + location.search);
  document.querySelector("#userid, #password").focus();
}
