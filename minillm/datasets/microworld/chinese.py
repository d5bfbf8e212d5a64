"""Chinese: words and forms. Each noun has its classifier: 一把椅子, 三辆汽车."""

from __future__ import annotations

from .grammar import Form, Value
from .town import WOMEN
from .words import column, number_of, table

NAMES = table("""
Anna: 安娜
Maria: 玛丽亚
Sara: 萨拉
Amina: 阿米娜
Lena: 莱娜
Rosa: 罗莎
Nina: 妮娜
Eva: 伊娃
Clara: 克拉拉
Emma: 艾玛
Julia: 朱莉娅
Laura: 劳拉
Tom: 汤姆
Juma: 朱马
Ali: 阿里
David: 大卫
Omar: 奥马尔
Ivan: 伊万
Pedro: 佩德罗
Hugo: 雨果
Felix: 菲利克斯
Simon: 西蒙
Paul: 保罗
Lucas: 卢卡斯
""")

# noun, classifier
NOUNS = table("""
apple: 苹果, 个
orange: 橙子, 个
pear: 梨, 个
mango: 芒果, 个
goat: 山羊, 只
dog: 狗, 只
cat: 猫, 只
duck: 鸭子, 只
hammer: 锤子, 把
saw: 锯子, 把
hoe: 锄头, 把
screwdriver: 螺丝刀, 把
shirt: 衬衫, 件
coat: 大衣, 件
dress: 连衣裙, 条
skirt: 短裙, 条
drum: 鼓, 面
guitar: 吉他, 把
flute: 笛子, 支
piano: 钢琴, 架
table: 桌子, 张
chair: 椅子, 把
bed: 床, 张
wardrobe: 衣柜, 个
bicycle: 自行车, 辆
car: 汽车, 辆
truck: 卡车, 辆
motorcycle: 摩托车, 辆
ring: 戒指, 枚
necklace: 项链, 条
bracelet: 手镯, 只
crown: 王冠, 顶
fruit: 水果, 种
animal: 动物, 种
tool: 工具, 种
garment: 衣服, 种
instrument: 乐器, 种
furniture: 家具, 种
vehicle: 交通工具, 种
jewel: 首饰, 种
""")

ADJECTIVES = table("""
plain:
red: 红色的
big: 大
white: 白色的
small: 小
beautiful: 漂亮的
black: 黑色的
new: 新
old: 旧
""")

PLACES = table("""
market: 市场
station: 车站
school: 学校
park: 公园
harbour: 港口
library: 图书馆
village: 村里
hotel: 酒店
beach: 海滩
river: 河边
farm: 农场
bakery: 面包店
""")

DAYS = table("""
Monday: 星期一
Tuesday: 星期二
Wednesday: 星期三
Thursday: 星期四
Friday: 星期五
Saturday: 星期六
Sunday: 星期天
""")

PARTS = table("""
morning: 早上
afternoon: 下午
evening: 晚上
""")

WEATHER = table("""
rain: 天下着雨
heat: 天气很热
wind: 风很大
cold: 天气很冷
""")

# done, not done
VERBS = table("""
buy: 买了, 没有买
sell: 卖了, 没有卖
find: 找到了, 没有找到
draw: 画了, 没有画
count: 数了, 没有数
""")

# subject, praise, blame
ASPECTS = table("""
price: 价格, 合理, 高
quality: 质量, 好, 差
seller: 卖家, 友好, 粗鲁
colour: 颜色, 漂亮, 难看
delivery: 送货, 快, 慢
shop: 商店, 干净, 脏
""")

COMPARISONS = table("""
older: 年纪大
younger: 年纪小
taller: 个子高
shorter: 个子矮
stronger: 力气大
weaker: 力气小
""")

NUMBERS = "零一两三四五六七八九"  # before a classifier two is 两
noun = column(NOUNS, 0)
classifier = column(NOUNS, 1)
name = column(NAMES, 0)


def a(thing: Value, adjective: Value = "plain") -> str:
    """A thing not met before: 一把旧椅子."""
    return f"一{classifier(thing)}{ADJECTIVES[str(adjective)][0]}{noun(thing)}"


def the(thing: Value, adjective: Value = "plain") -> str:
    """A thing met before: 那把旧椅子."""
    return f"那{classifier(thing)}{ADJECTIVES[str(adjective)][0]}{noun(thing)}"


def count(n: Value, thing: Value) -> str:
    """So many: 三把椅子."""
    return num(n) + classifier(thing) + noun(thing)


def num(n: Value) -> str:
    return NUMBERS[number_of(n)]


def subj(who: Value, reference: Value) -> str:
    """Somebody who acts: 安娜, 她."""
    return name(who) if reference == "name" else ("她" if who in WOMEN else "他")


def clause(aspect: Value, word: Value, negated: Value) -> str:
    """A judgement: 价格不合理, 价格很合理."""
    subject, praise, blame = ASPECTS[str(aspect)]
    return subject + ("不" if negated == "not" else "很") + (praise if word == "praise" else blame)


FORMS: dict[str, Form] = {
    "name": name,
    "subj": subj,
    "when": lambda day, part: DAYS[str(day)][0] + PARTS[str(part)][0],
    "on": column(DAYS, 0),
    "at": lambda place: "在" + PLACES[str(place)][0],
    "to": column(PLACES, 0),
    "weather": column(WEATHER, 0),
    "a": a,
    "the": the,
    "one": lambda thing: count(1, thing),
    "count": count,
    "noun": noun,
    "cl": classifier,
    "num": num,
    "counted": lambda n, thing: num(n) + classifier(thing),
    "did": column(VERBS, 0),
    "clause": clause,
    "compare": lambda word, who, other: f"比{name(other)}{COMPARISONS[str(word)][0]}",
    "claim": lambda sign, verb, thing: VERBS[str(verb)][sign != "yes"] + noun(thing),
    "link": {"and": "，而且", "but": "，但是"}.__getitem__,
    "ordinal": {"first": "第一", "second": "第二", "last": "最后一"}.__getitem__,
}
