"""The public test kit: what the tests of the engine and the checks of the exercises are made of."""

from minillm.testing.gradcheck import gradcheck

__all__ = ["gradcheck"]
