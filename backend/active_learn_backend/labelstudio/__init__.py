"""Calls to Label Studio: only this package makes them."""
