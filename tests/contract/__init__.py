"""The emulator and the client, held against the published OpenAPI of Graph by tools that know neither."""
