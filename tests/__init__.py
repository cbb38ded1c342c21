"""Tests: unit (pure), contract (every adapter), integration (real parts), e2e (a browser), bench (measures only)."""
