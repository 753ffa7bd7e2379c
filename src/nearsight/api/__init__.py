"""The public Python interface: what `import nearsight` offers, each verb in the file of its subject."""
