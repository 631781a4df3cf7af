"""Microsoft's own SDKs against the emulator: what was not written here has to get along with it."""
