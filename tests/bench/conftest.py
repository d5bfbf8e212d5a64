"""The benchmark is run by hand; here only its tests are collected, not the modules, which import what is compared."""

from pathlib import Path

collect_ignore = [p.name for p in Path(__file__).parent.iterdir() if not p.name.startswith(("test_", "conftest"))]
