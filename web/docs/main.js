// @ts-check
/** The page of the HTTP API: Swagger UI shows /openapi.json. */

const { SwaggerUIBundle } = /** @type {any} */ (window);

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
});
