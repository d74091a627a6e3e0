"""Commands that read or write localization tables."""
