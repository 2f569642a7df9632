from tests.formats.toymaker import toy_format

__all__ = ["toy_format"]
