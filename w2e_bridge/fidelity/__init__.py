"""Is it still the same model: metrics, comparison, the audit of what was written, the report."""
