"""Which labels are right? The ideas of the papers as functions on tensors: no network is trained here, no file read."""
