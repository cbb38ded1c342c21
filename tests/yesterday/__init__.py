"""Programs of 2026-11-23, as somebody outside wrote them then; they know what follows here, and nothing of what came later.

They are never changed: docs/evolution.md. tests/contract/test_yesterday.py runs them with today's events, and
tests/integration/test_loop.py on the running product.
"""
