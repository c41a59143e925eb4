// The interactive API page. It sends no cookie: a call carries only the credential that was typed in.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
  persistAuthorization: false,
  // A path stands inside the button that unfolds it, where a link is not allowed (WCAG 4.1.2).
  // The address still follows what is unfolded.
  plugins: [() => ({ components: { DeepLink: ({ text }) => text } })],
  requestInterceptor(request) {
    request.credentials = "omit";
    return request;
  },
});
