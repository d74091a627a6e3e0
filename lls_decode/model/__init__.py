"""The localization network, and the bundle file that holds a trained one.

``model.info`` reads what a bundle says of itself without torch; ``model.network`` and ``model.bundle`` need it.
"""
