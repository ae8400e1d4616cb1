"""The HTTP API: doorways to the services, with typed answers and errors that name the field."""
