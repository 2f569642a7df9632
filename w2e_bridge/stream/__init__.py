"""Carrying out what a lowering planned: files written chunk by chunk in bounded memory."""
