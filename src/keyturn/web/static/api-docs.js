// The interactive API page. It sends no cookie: a call carries only the credential that was typed in.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
  persistAuthorization: false,
  requestInterceptor(request) {
    request.credentials = "omit";
    return request;
  },
});
