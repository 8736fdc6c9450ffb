"""Fast adaptation to drift; empty until drift is simulated."""
