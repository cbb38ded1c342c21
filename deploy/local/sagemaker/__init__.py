"""Runs a SageMaker for one machine: the genuine SDKs run real training jobs and get answers from real endpoints.

`app` shows the whole on one screen. Each resource has a module that answers its operations; botocore's own service model checks
what comes in and shapes what goes out; `state` keeps documents on disk; `containers` runs images as processes. What this
SageMaker has and what it leaves out: docs/sagemaker-local.md.
"""
