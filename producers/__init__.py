"""Holds the adapters to Kafka, S3 and logs, and the simulated players."""
