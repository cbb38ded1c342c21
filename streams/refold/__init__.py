"""The folds made anew from the log, each message taken once, to compare with what the workers hold and have published."""
