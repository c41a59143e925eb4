// Tries the routes of the API reference. The credential is kept in this page, and no cookie is sent.

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
