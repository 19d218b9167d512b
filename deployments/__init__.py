"""How Windlass is deployed: the serving process, images, manifests, automations."""
