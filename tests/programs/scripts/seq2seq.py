"""An encoder and a decoder with GRUs and additive attention, teacher forcing, two optimizers."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim

torch.set_default_dtype(torch.float64)
SOS, EOS, MAX_LENGTH, VOCAB, HIDDEN = 0, 1, 6, 9, 8


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, HIDDEN)
        self.gru = nn.GRU(HIDDEN, HIDDEN, batch_first=True)

    def forward(self, x):
        return self.gru(self.embedding(x))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.Wa = nn.Linear(HIDDEN, HIDDEN)
        self.Ua = nn.Linear(HIDDEN, HIDDEN)
        self.Va = nn.Linear(HIDDEN, 1)

    def forward(self, query, keys):
        scores = self.Va(torch.tanh(self.Wa(query) + self.Ua(keys)))
        scores = scores.squeeze(2).unsqueeze(1)
        weights = F.softmax(scores, dim=-1)
        return torch.bmm(weights, keys), weights


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, HIDDEN)
        self.attention = Attention()
        self.gru = nn.GRU(2 * HIDDEN, HIDDEN, batch_first=True)
        self.out = nn.Linear(HIDDEN, VOCAB)

    def forward(self, encoder_outputs, hidden, target=None):
        batch = encoder_outputs.size(0)
        x = torch.empty(batch, 1, dtype=torch.long).fill_(SOS)
        outputs = []
        for i in range(MAX_LENGTH):
            query = hidden.permute(1, 0, 2)
            context, _ = self.attention(query, encoder_outputs)
            y, hidden = self.gru(torch.cat((self.embedding(x), context), dim=2), hidden)
            outputs.append(self.out(y))
            if target is not None:
                x = target[:, i].unsqueeze(1)
            else:
                _, topi = outputs[-1].topk(1)
                x = topi.squeeze(-1).detach()
        return F.log_softmax(torch.cat(outputs, dim=1), dim=-1), hidden


def make():
    return nn.ModuleDict({"encoder": Encoder(), "decoder": Decoder()})


def run(model):
    encoder, decoder = model["encoder"], model["decoder"]
    source = torch.tensor([[2, 3, 4, 5, EOS, EOS], [6, 7, 8, EOS, EOS, EOS]])
    target = source.flip(1)
    e_opt = optim.Adam(encoder.parameters(), lr=0.01)
    d_opt = optim.SGD(decoder.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    criterion = nn.NLLLoss()
    seen = []
    for _ in range(5):
        e_opt.zero_grad()
        d_opt.zero_grad()
        outputs, hidden = encoder(source)
        log_p, _ = decoder(outputs, hidden, target)
        loss = criterion(log_p.view(-1, log_p.size(-1)), target.reshape(-1))
        loss.backward()
        nn.utils.clip_grad_value_(model.parameters(), 0.5)
        e_opt.step()
        d_opt.step()
        seen.append(loss.item())
    with torch.no_grad():
        log_p, _ = decoder(*encoder(source))
        _, best = log_p.topk(1)
    return seen + best.squeeze().flatten().tolist()
