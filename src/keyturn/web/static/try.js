// Tries the routes of the API reference. The credential is kept in this page, and no cookie is sent with a call.
// Who is signed in need not paste one: the page that makes a token for some minutes is asked for it.

const key = document.getElementById("try-key");
const keyForm = document.querySelector("[data-try-key]");
keyForm.hidden = false;
keyForm.addEventListener("submit", (event) => event.preventDefault());

function target(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams(), headers = new Headers();
  for (const input of form.querySelectorAll("[data-name]")) {
    const { name, place } = input.dataset, value = input.value;
    if (place === "path") path = path.replace(`{${name}}`, encodeURIComponent(value));
    else if (value && place === "query") query.set(name, value);
    else if (value && place === "header") headers.set(name, value);
  }
  return { address: query.size ? `${path}?${query}` : path, headers };
}

function shown(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function show(form, title, text) {
  const heading = document.createElement("p"), code = document.createElement("div"), pre = document.createElement("pre");
  heading.append(Object.assign(document.createElement("b"), { textContent: title }));
  code.className = "code";
  pre.tabIndex = 0;
  pre.textContent = text;
  code.append(pre);
  form.querySelector("[data-answer]").replaceChildren(heading, ...(text ? [code] : []));
}

async function send(form) {
  const { method, type } = form.dataset, { address, headers } = target(form);
  const body = form.querySelector("[data-place=body]")?.value;
  if (key.value) headers.set("Authorization", key.value.trim());
  if (body) headers.set("Content-Type", type);
  const began = performance.now();
  const answer = await fetch(address, { method, headers, credentials: "omit", body: body || undefined });
  const text = shown(await answer.text());
  const names = [...answer.headers].filter(([name]) => name.startsWith("keyturn-") || name === "www-authenticate");
  show(form, `${answer.status} ${answer.statusText}, ${Math.round(performance.now() - began)} ms`,
    [...names.map(([name, value]) => `${name}: ${value}`), text].filter(Boolean).join("\n"));
}

const TOKEN_PAGE = "/profile/token";
const said = document.querySelector("[data-session-said]"), proof = document.querySelector("[data-session-proof]");

function say(text, link) {
  said.replaceChildren(text, ...(link ? [" ", Object.assign(document.createElement("a"), link)] : []));
  said.hidden = false;
}

async function useSession(form) {
  const body = form && new URLSearchParams(new FormData(form));
  const answer = await fetch(TOKEN_PAGE, { method: form ? "POST" : "GET", body });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const next = page.querySelector(`form[action="${TOKEN_PAGE}"]`), token = page.getElementById("token");
  const isAsked = next?.querySelector("[type=password]");
  proof.hidden = !isAsked;
  proof.replaceChildren();
  if (token) {
    key.value = token.textContent;
    say("The field above holds a token of yours for a few minutes. Your Sessions tab lists it.");
  } else if (answer.status === 401) {
    const href = `/login?then=${location.pathname}`;
    say("You are not signed in, or your session has ended.", { href, textContent: "Sign in" });
  } else if (isAsked) {
    say("Confirm your password to make a token.");
    proof.append(document.importNode(next, true));
    proof.querySelector("[type=password]").focus();
  } else if (next && !form) {
    await useSession(next);
  } else {
    say(page.querySelector("[role=alert]")?.textContent || `No token could be made: ${answer.status}.`);
  }
}

async function trySession(form) {
  try {
    await useSession(form);
  } catch (error) {
    say(`The request failed: ${error.message}`);
  }
}

document.querySelector("[data-session]").addEventListener("click", () => trySession());
proof.addEventListener("submit", (event) => {
  event.preventDefault();
  trySession(event.target);
});

for (const form of document.querySelectorAll("[data-try]")) {
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if ("needsKey" in form.dataset && !key.value) {
      show(form, "Enter your API key or token first, at the top of this page.", "");
      key.focus();
      return;
    }
    try {
      await send(form);
    } catch (error) {
      show(form, `The request failed: ${error.message}`, "");
    }
  });
}
