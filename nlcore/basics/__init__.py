"""What every wing may use and what knows no wing: exceptions, files, chance, the machine, progress."""

VERSION = "0.1.0"
