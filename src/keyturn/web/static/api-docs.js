// The interactive API page. It sends no cookie: a call carries only the credential that was typed in.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
  persistAuthorization: false,
  // A path stands inside the button that unfolds it, where a link is not allowed (WCAG 4.1.2).
  // The address still follows what is unfolded. There is one server, this one: nothing to choose, and the
  // choice would have no label.
  plugins: [() => ({ components: { DeepLink: ({ text }) => text, ServersContainer: () => null } })],
  requestInterceptor(request) {
    request.credentials = "omit";
    return request;
  },
});

// What Swagger UI leaves out: names of buttons that show only a picture, a way into what scrolls, a heading level.
const left = [
  [".close-modal", "aria-label", "Close"],
  [".copy-to-clipboard button", "aria-label", "Copy"],
  [".microlight", "tabindex", "0"],
  [".auth-container h6", "aria-level", "5"],
];

function complete() {
  for (const [selector, name, value] of left) {
    document.querySelectorAll(`${selector}:not([${name}])`).forEach((element) => element.setAttribute(name, value));
  }
}

new MutationObserver(complete).observe(document.getElementById("api"), { childList: true, subtree: true });
