"""Lists what strangers send, case by case, and the answer that each must get: a refusal with its reason, or a close.

tests/integration/test_hostile.py runs them while people play; tests/bench/hostile.py measures what the players notice. Every
case comes from an address of its own: Linux has sixteen million of them on its loopback.
"""
