"""The web console: pages for people, made on the server, beside the API in one application."""
