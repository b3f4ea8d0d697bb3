"""Between HTTP and interfaces: an interface at its path, the list of models, the OpenAPI document."""
