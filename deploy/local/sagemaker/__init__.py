"""A SageMaker for one machine: the genuine SDKs run real training jobs and get answers from real endpoints.

`app` is the whole on one screen. One module a resource answers its operations; botocore's own service model checks what
comes in and shapes what goes out; `state` keeps documents on disk; `containers` runs images as processes. What it has and
what it leaves out: docs/sagemaker-local.md.
"""
