from rot_cipher import RotFactory

rot = RotFactory()
