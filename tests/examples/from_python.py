import torch

import veilbench

faces = veilbench.load_dataset("embedded")  # your own: veilbench.read_photo("me.png")
photos = torch.stack([faces[place].image for place in range(4)])
target = faces.targets[0]  # `image` is attacked with, `other` is another photo of the same person

method = veilbench.load_method("mi_fgsm", epsilon="8/255")
protected = veilbench.protect(photos, method, surrogates=["embedded_ir152", "embedded_facenet"], targets=target.image)
table = veilbench.score(protected, photos, judges=["embedded_irse50"], targets=target.gallery)
print(table[["item", "judge", "similarity", "threshold", "success", "psnr"]])
