"""Suites that a third party's part must pass, as unmask's own do; they need pytest.

models: ModelTests
datasets: DatasetTests
"""
