"""A stand-in for Microsoft Graph's reprocess action and `$batch` that misbehaves on demand and records everything.

It shares no code with the package under test nor with its emulator, so that they cannot agree on the same mistake.
`script` names the faults, `routes` reads requests, `graph` decides, `wire` breaks HTTP, `record` remembers,
`pauses` and `quota` keep time, `server` listens. Start it with `faults.FaultServer`, or by `python -m fault_server`.
"""
