// Suggests users and groups as one types: the combobox of WAI-ARIA whose list is chosen from by hand. Without it
// the server looks for what was typed when the form is sent.

const DELAY = 200;

document.querySelectorAll("[data-picker]").forEach((input) => {
  const list = document.createElement("ul"), told = document.createElement("p");
  const field = (ending) => input.form.querySelector(`[type=hidden][name="${CSS.escape(input.name + ending)}"]`);
  let timer, request, current = -1;

  list.id = `${input.id}-suggestions`;
  list.className = "suggestions";
  list.hidden = true;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Suggestions");
  told.className = "hide";
  told.setAttribute("role", "status");
  input.after(list, told);
  for (const [name, value] of Object.entries({
    role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": list.id,
  })) input.setAttribute(name, value);

  function show(isShown) {
    list.hidden = !isShown;
    input.setAttribute("aria-expanded", isShown);
    move(-1);
  }

  function move(to) {
    current = to;
    [...list.children].forEach((option, at) => option.setAttribute("aria-selected", at === to));
    if (to < 0) input.removeAttribute("aria-activedescendant");
    else {
      input.setAttribute("aria-activedescendant", list.children[to].id);
      list.children[to].scrollIntoView({ block: "nearest" });
    }
  }

  function choose(option) {
    const { number, text } = option.dataset;
    input.value = text;
    if (field(".pick")) [field(".pick").value, field(".asked").value] = [number, text];
    show(false);
    told.textContent = `${text} chosen`;
  }

  function option({ number, name, note, called }, at) {
    const item = document.createElement("li"), second = document.createElement("span");
    item.id = `${list.id}-${at}`;
    item.setAttribute("role", "option");
    Object.assign(item.dataset, { number, text: field(".pick") ? name : called });
    second.className = "sub";
    second.textContent = note;
    item.append(name, second);
    return item;
  }

  async function suggest() {
    request?.abort();
    request = new AbortController();
    const text = input.value.trim();
    if (text.length < 2) { show(false); return; }
    try {
      const answer = await fetch(`${input.dataset.picker}?q=${encodeURIComponent(text)}`, { signal: request.signal });
      const found = await answer.json();
      if (!answer.ok || document.activeElement !== input) return;
      list.replaceChildren(...found.map(option));
      show(found.length > 0);
      told.textContent = found.length === 1 ? "1 suggestion" : `${found.length || "No"} suggestions`;
    } catch { show(false); } // The next letter asks again; the form works without.
  }

  input.addEventListener("input", () => {
    if (field(".pick")) field(".pick").value = "";
    clearTimeout(timer);
    timer = setTimeout(suggest, DELAY);
  });
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key], { length } = list.children;
    if (step && length) {
      event.preventDefault();
      if (list.hidden) show(true);
      move(current < 0 && step < 0 ? length - 1 : (current + step + length) % length);
    } else if (event.key === "Enter" && current >= 0) {
      event.preventDefault();
      choose(list.children[current]);
    } else if (event.key === "Escape" && !list.hidden) {
      event.preventDefault();
      show(false);
    }
  });
  input.addEventListener("blur", () => { clearTimeout(timer); show(false); });
  list.addEventListener("mousedown", (event) => event.preventDefault()); // The field keeps the focus.
  list.addEventListener("click", ({ target }) => { if (target.closest("li")) choose(target.closest("li")); });
});
