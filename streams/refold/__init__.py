"""Makes the folds anew from the log, each message once, to compare them with the workers' ledgers and events."""
