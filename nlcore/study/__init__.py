"""What only the book needs: comparisons, ablations, the ledger, figures, the explorer. Nothing below may import it."""
