"""A character RNN from the classic tutorial: a hand-written cell, a hidden state carried along, a manual SGD step."""

import torch
import torch.nn as nn

torch.set_default_dtype(torch.float64)
letters = "abcdefgh "
n_letters, n_hidden, n_categories = len(letters), 10, 3


def line_to_tensor(line):
    tensor = torch.zeros(len(line), 1, n_letters)
    for li, letter in enumerate(line):
        tensor[li][0][letters.find(letter)] = 1
    return tensor


class RNN(nn.Module):
    def __init__(self, input_size, hidden_size, output_size):
        super(RNN, self).__init__()
        self.hidden_size = hidden_size
        self.i2h = nn.Linear(input_size + hidden_size, hidden_size)
        self.h2o = nn.Linear(hidden_size, output_size)
        self.softmax = nn.LogSoftmax(dim=1)

    def forward(self, input, hidden):
        combined = torch.cat((input, hidden), 1)
        hidden = torch.tanh(self.i2h(combined))
        return self.softmax(self.h2o(hidden)), hidden

    def initHidden(self):
        return torch.zeros(1, self.hidden_size)


def make():
    return RNN(n_letters, n_hidden, n_categories)


def run(rnn):
    criterion = nn.NLLLoss()
    learning_rate = 0.05
    seen = []
    for step, word in enumerate(["abba", "feed", "cab", "ace", "bee", "gag h"]):
        category = torch.tensor([step % n_categories], dtype=torch.long)
        hidden = rnn.initHidden()
        rnn.zero_grad()
        line = line_to_tensor(word)
        for i in range(line.size()[0]):
            output, hidden = rnn(line[i], hidden)
        loss = criterion(output, category)
        loss.backward()
        for p in rnn.parameters():
            p.data.add_(p.grad.data, alpha=-learning_rate)
        top_n, top_i = output.topk(1)
        seen += [loss.item(), top_n.item(), top_i[0].item(), letters[top_i[0]]]
    return seen
