r"""Examples of every kind of answer, a line each: a gold and an answer that are one, and such that are not."""

SAME = r"""
    \sqrt{1/n} ~ \frac{1}{\sqrt{n}}
    x^{0.5} ~ \sqrt{x}
    x^{1.5} ~ x\sqrt{x}
    x^{2/3} ~ \sqrt[3]{x^2}
    -2 ~ \sqrt[3]{-8}
    -2 ~ (-8)^{1/3}
    (x^2)^{0.5} ~ |x|
    \ln(x^2) ~ 2\ln |x|
    \sin 60^\circ ~ \frac{\sqrt{3}}{2}
    \sin(60^\circ - x) ~ \cos(30^\circ + x)
    60^\circ ~ \frac{\pi}{3}
    \frac{\pi}{3} ~ 60^\circ
    60^\circ ~ 60
    9 = 4b + d ~ 4b + d = 9
    x = 5 ~ 5 = x
    5 ~ 5 = x
    7 ~ f(2) = 7
    \frac{70}{9} ~ \frac{70}{9} \approx 7.78
    7.78 ~ \frac{70}{9} \approx 7.78
    \frac{70}{9} ~ \frac{70}{9} (\approx 7.78)
    \frac{70}{9} ~ x = \frac{70}{9} = 7.78
    \frac{70}{9} \approx 7.78 ~ 7.78
    \frac{70}{9} \approx 7.78 ~ \frac{70}{9}
    \frac{70}{9} ~ 7.78 \approx \frac{70}{9}
    (1, \frac{1}{3}) ~ (1, \frac{1}{3} \approx 0.333)
    \begin{pmatrix}4\\6\end{pmatrix} ~ 2\begin{pmatrix}2\\3\end{pmatrix}
    \begin{pmatrix}4\\6\end{pmatrix} ~ \begin{pmatrix}1\\2\end{pmatrix} + \begin{pmatrix}3\\4\end{pmatrix}
    \begin{pmatrix}19&22\\43&50\end{pmatrix} ~ \begin{pmatrix}1&2\\3&4\end{pmatrix}\begin{pmatrix}5&6\\7&8\end{pmatrix}
    \begin{pmatrix}1+3t\\2+4t\end{pmatrix} ~ \begin{pmatrix}1\\2\end{pmatrix} + t\begin{pmatrix}3\\4\end{pmatrix}
    \mathbb{R} ~ (-\infty,\infty)
    \mathbb{R} ~ x \in \mathbb{R}
    \mathbb{R}\setminus\{0\} ~ x \neq 0
    \{1,2\} ~ \{1,1,2\}
    [0,3] ~ [0,2] \cup [1,3]
    \{2,3\} ~ \{1,2,3\} \cap \{2,3,4\}
    \{1\} ~ \{1,2,3\} \setminus \{2,3\}
    x < 1 \lor x > 3 ~ x > 3 \text{ or } x < 1
    \emptyset ~ \{\}
    \emptyset ~ \text{No solution}
    \{x \in \mathbb{R} : x > 2\} ~ (2, \infty)
    \{x \mid x \ne 3\} ~ \mathbb{R} \setminus \{3\}
    (-\infty, 2) \cup (2, \infty) ~ \text{all real numbers except } 2
    x \neq 1, 2 ~ \mathbb{R} \setminus \{1,2\}
    x \neq 1, 2 ~ x \neq 1 \text{ and } x \neq 2
    (-\infty,-2)\cup(2,\infty) ~ |x|>2
    [-1, 3] ~ |x-1| \leq 2
    \mathbb{R} ~ ℝ
    (-\infty,\infty) ~ ℝ
    ℝ∖{0} ~ (-∞,0)∪(0,∞)
    \frac{1}{2} ~ ½
    x_1 ~ x₁
    \sqrt{5} ~ sqrt{5}
    2\sqrt{5} ~ 2sqrt(5)
    \frac{1}{2} ~ frac{1}{2}
    3 \cdot 4^n ~ 3 cdot 4^n
    \pi/2 ~ pi/2
    ]0,1[ ~ (0,1)
    (0,1] ~ ]0,1]
    A(1,2) ~ (1,2)
    (1,2) ~ P = (1,2)
    (x-1)(x+1) ~ x^2-1 = (x-1)(x+1)
    30^\circ ~ \arcsin\frac12 = 30^\circ
    2x+3 ~ y = 2x+3
    2x+3 ~ 2x+3 = y
    12 ~ \frac{35}{3} \approx 12
    0.577 ~ \frac{\sqrt{3}}{3} \approx 0.577
    \frac{1}{\sqrt3} ~ \frac{\sqrt{3}}{3} \approx 0.577
    2\sqrt{2} ~ 2\sqrt{2} \text{ (approximately 2.83)}
    2\sqrt{2} ~ 2\sqrt{2} \text{ (}\approx 2.83)
    2\sqrt{2} ~ 2\sqrt{2}\ (2.83)
    2\sqrt{2} ~ 2\sqrt{2}, \text{ which is about } 2.83
    \frac{22}{7} ~ \frac{22}{7} = 3.142857...
    \frac{70}{9} ~ 7\frac{7}{9} \approx 7.78
    7.78 ~ x \approx 7.78
    7.78 ~ \approx 7.78
    7.78 ~ about 7.78
    \arctan 2 ~ \arctan 2 \approx 63.4^\circ
    33.3\% ~ \frac{1}{3} \approx 33.3\%
    \frac{1}{3} ~ \frac{1}{3} \approx 33.3\%
    \frac{70}{9} \text{ cm} ~ \frac{70}{9} \text{ cm} \approx 7.78 \text{ cm}
    (2\sqrt2, 3) ~ (2\sqrt{2}, 3) \approx (2.83, 3)
    x = \frac{1}{3}, y = \frac{2}{3} ~ x = \frac{1}{3} \approx 0.33, y = \frac{2}{3} \approx 0.67
    \frac{1 \pm \sqrt5}{2} ~ \frac{1+\sqrt5}{2} \approx 1.618, \frac{1-\sqrt5}{2} \approx -0.618
    \frac{1+\sqrt5}{2} ~ \phi = \frac{1+\sqrt5}{2} \approx 1.618
    1000\pi ~ 1000\pi \approx 3142
    3142 ~ 1000\pi \approx 3142
    e^2 ~ e^2 \approx 7.389
    \ln 2 ~ \ln 2 \approx 0.693
    \ln 2 ~ \ln(2) = 0.693
    \log_2 5 ~ \log_2 5 \approx 2.32
    5 ~ 5.0 \approx 5
    x > 2 ~ (2, \infty)
    (-\infty, -1) \cup (1, \infty) ~ x < -1 \lor x > 1
    (-\infty, -1) \cup (1, \infty) ~ x < -1, x > 1
    (-1, 1) ~ x < 1, x > -1
    [2, 4) \cup (4, 6] ~ 2 \le x \le 6, x \ne 4
    [2, 4) \cup (4, 6] ~ [2,6] \setminus \{4\}
    [2, 4) \cup (4, 6] ~ 2 \le x \le 6 \text{ and } x \neq 4
    [2, 4) \cup (4, 6] ~ x \in [2, 6], x \ne 4
    (0,1) \cup \{2\} ~ 0<x<1 \text{ or } x = 2
    \{2\} \cup (0,1) ~ (0,1)\cup\{2\}
    (a,b) \cup (c,d) ~ (c,d) \cup (a,b)
    \{a\} \cup \{b\} ~ \{b, a\}
    \{1,2,3\} ~ \{x \in \mathbb{Z} : 1 \le x \le 3\}
    \{-2, 2\} ~ x = \pm 2
    \{-2, 2\} ~ \{\pm 2\}
    x = 2 \text{ or } x = -2 ~ x = \pm 2
    (-2,2) ~ -2 < x < 2
    (-2,2) ~ x^2 < 4
    \mathbb{R} ~ \text{All real numbers}
    \mathbb{R} ~ \text{all reals}
    \mathbb{R} ~ x \text{ is any real number}
    \mathbb{Z} ~ ℤ
    \emptyset ~ \text{the empty set}
    \emptyset ~ \text{There is no solution}
    [0, 2\pi) ~ 0 \leq \theta < 2\pi
    \left(-\infty, \frac{1}{2}\right] ~ x \leq 0.5
    (-\sqrt{3}, \sqrt{3}) ~ |x| < \sqrt{3}
    x \le -3 \text{ or } x \ge 3 ~ |x| \ge 3
    5 ~ x=5
    \left\{ \frac{1}{2}, 3 \right\} ~ \left\{3, 0.5\right\}
    \{(1,2),(3,4)\} ~ \{(3,4),(1,2)\}
    \{1,2\} \cap \{2,3\} ~ \{2\}
    A \cup B ~ B \cup A
    (1,2) ~ (1;2)
    k\pi, k \in \mathbb{Z} ~ x = k\pi, k \in \mathbb{Z}
    x = \frac{\pi}{4} + n\pi ~ \frac{\pi}{4} + n\pi
    2^{10} ~ 2¹⁰
    x^{2n} ~ x²ⁿ
    x^{n+1} ~ xⁿ⁺¹
    H_2O ~ H₂O
    \frac{3}{4} ~ ¾
    2\frac{3}{4} ~ 2¾
    2\frac{3}{4} ~ 2 ¾
    \frac{11}{4} ~ 2¾
    \frac{3}{4} ~ ³⁄₄
    \frac{3}{4} ~ 3∕4
    -5 ~ −5
    -5 ~ –5
    5 ~ ５
    12.5 ~ １２．５
    (1,2) ~ （１，２）
    3x ~ 3𝑥
    x \ge 3 ~ x ≥ 3
    \sqrt[3]{2} ~ ∛2
    \sqrt{2}/2 ~ √2/2
    \frac{-1+\sqrt{5}}{2} ~ (−1+√5)/2
    \alpha + \beta ~ α + β
    90^\circ ~ 90°
    2\pi r ~ 2πr
    \pi r^2 ~ πr²
    3 \times 10^8 ~ 3×10⁸
    3 \times 10^{-8} ~ 3 × 10⁻⁸
    \{1, 2\} ~ ｛1, 2｝
    \infty ~ ∞
    4 ~ ４.
    \frac{1}{2} ~ 1⁄2
    x \in [0,1] ~ x ∈ [0,1]
    \triangle ABC ~ △ABC
    \sum_{k=1}^n k ~ \frac{n(n+1)}{2}
    3.14 ~ 3.14‏
    100 ~ 100 €
    ½ ~ 0.5
    x₁ = 2, x₂ = 3 ~ x_1 = 2, x_2 = 3
    n! ~ n(n-1)!
    y = 2x ~ x = y/2
    x^2 + y^2 = 25 ~ y^2 + x^2 - 25 = 0
    25 = x^2 + y^2 ~ x^2 + y^2 = 25
    (3,4) ~ x=3 \text{ and } y=4
    P(A) = \frac{1}{2} ~ \frac{1}{2}
    \frac12 ~ P(X > 3) = \frac12
    \frac12 ~ \Pr(A|B) = 0.5
    6 ~ \binom{4}{2} = 6
    3 ~ \log_2 8 = 3
    \frac{1}{2} ~ \sin 30^\circ = \frac{1}{2}
    5 ~ \sqrt{3^2+4^2} = 5
    5 ~ \int_0^5 1\,dx = 5
    55 ~ \sum_{k=1}^{10} k = 55
    2 ~ \lim_{x \to 0} \frac{\sin 2x}{x} = 2
    x^2 + C ~ \int 2x\,dx = x^2 + C
    60^\circ ~ \angle ABC = 60^\circ
    60 ~ m\angle A = 60^\circ
    12 ~ [ABC] = 12
    12 ~ AB = 12
    x+1 ~ y = x + 1
    \begin{pmatrix} 1 \\ 2 \end{pmatrix} ~ \begin{bmatrix} 1 \\ 2 \end{bmatrix}
    \begin{pmatrix} 1/2 & 0 \\ 0 & 1/2 \end{pmatrix} ~ \frac{1}{2}\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}
    \begin{pmatrix} 1/2 & 0 \\ 0 & 1/2 \end{pmatrix} ~ \begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}/2
    \begin{pmatrix} 3 & 0 \\ 0 & 3 \end{pmatrix} ~ 3\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}
    \sqrt{x} ~ x^{0.5}
    x^{0.75} ~ \sqrt[4]{x^3}
    x^{1.25} ~ x \sqrt[4]{x}
    8^{1/3} ~ 2
    4^{0.5} ~ 2
    16^{0.25} ~ 2
    4^{1.5} ~ 8
    2^{-0.5} ~ \frac{1}{\sqrt2}
    e^{0.5x} ~ \sqrt{e^x}
    e^{x/2} ~ e^{0.5x}
    (0.5)^n ~ 2^{-n}
    0.5^n ~ \frac{1}{2^n}
    1.5x ~ \frac{3x}{2}
    0.1x + 0.2 ~ \frac{x+2}{10}
    1000(1.05)^t ~ 1000 \cdot \left(\frac{21}{20}\right)^t
    5 ~ sqrt(25)
    \frac{3}{4} ~ frac{3}{4}
    \frac{\pi}{4} ~ frac{pi}{4}
    3\pi ~ 3pi
    \sin x ~ sin x
    \sin x ~ sin(x)
    e^{x} ~ exp(x)
    \ln 3 ~ ln 3
    \ln 3 ~ ln(3)
    x \le 3 ~ x leq 3
    (-\infty, 3) ~ (-infty, 3)
    \frac{\sqrt{3}}{2} ~ frac{sqrt{3}}{2}
    \text{yes} ~ text{yes}
    \overline{AB} ~ overline{AB}
    5 \cdot 10^3 ~ 5 times 10^3
    \alpha ~ alpha
    2\theta ~ 2theta
    \frac{1}{2} ~ {1 \over 2}
    \tan x ~ \mathrm{tan}\, x
    \arcsin x ~ \sin^{-1} x
    3i ~ 3\mathrm{i}
    2 - 3i ~ -3i + 2
    i ~ \sqrt{-1}
    -1 ~ i^2
    e^{i\pi} ~ -1
    5 ~ |3+4i|
    1000000 ~ 10^6
    1,000,000 ~ 1000000
    0.001 ~ 10^{-3}
    6.02 \times 10^{23} ~ 6.02e23
    3.0 ~ 3
    \frac{6}{4} ~ \frac{3}{2}
    \frac{6}{4} ~ 1.5
    -\frac{1}{2} ~ \frac{1}{-2}
    \frac{x}{-2} ~ -\frac{x}{2}
    50\% ~ 0.5
    50\% ~ \frac{1}{2}
    \$5 ~ 5 dollars
    5 \text{ m/s} ~ 5 m/s
    10 \text{ cm}^2 ~ 10 \text{ square centimeters}
    10 \text{ cm}^2 ~ 10 \; cm^2
    \text{Tuesday} ~ Tuesday
    \text{True} ~ true
    \text{(C)} ~ C
    C ~ \text{C}
    11:30 ~ 11:30 \text{ AM}
    3:2 ~ 6:4
    3:2 ~ 3/2
    10111_2 ~ 10111_{2}
    x^3-1 ~ (x-1)(x^2+x+1)
    \frac{x^2-1}{x-1} ~ x+1
    \frac{1}{x}+\frac{1}{y} ~ \frac{x+y}{xy}
    \log_{10} 2 ~ \lg 2
    \log_2 3 ~ \frac{\ln 3}{\ln 2}
    \ln(x^3) ~ 3\ln x
    \cos 2x ~ 1 - 2\sin^2 x
    \tan^2 x + 1 ~ \sec^2 x
    a + b + c ~ c + b + a
    ab ~ ba
    a_n = 2n+1 ~ 2n + 1
    a_n = 2n + 1 ~ a_n = 1 + 2n
    \frac{d}{dx} ~ \frac{d}{dx}
    \lfloor x \rfloor ~ ⌊x⌋
    3 \pmod 7 ~ 3 (mod 7)
    1, 2, 3 ~ 1,2,3
    1, 2, 3 ~ 1; 2; 3
    \langle 1, 2, 3 \rangle ~ (1,2,3)
    1:2:3 ~ 2:4:6
    \text{DNE} ~ \text{does not exist}
    -\infty ~ −∞
    \frac{2}{3}, \frac{5}{3} ~ 5/3, 2/3
    3x ~ 3\,x
    72 ~ 72 \text{ clips}
    180 ~ 180 \text{ (days)}
    180 ~ 180 (days)
    1234 ~ \$1,234.00
    9500 ~ $9{,}500
    9500 ~ 9\,500
    \$5.5 ~ \$5.50
    27/2\% ~ 13.5\%
    13.5% ~ 27/2\%
    22 8/9 ~ 22\tfrac{8}{9}
    22 8/9 ~ \frac{206}{9}
    22 8/9 ~ 206/9
    -3 1/2 ~ -3.5
    -3 1/2 ~ -\frac{7}{2}
    7.0 ~ 7
    007 ~ 7
    0 ~ -0
    0 ~ 0.0
    0 ~ +0
    1e3 ~ 1000
    1e-3 ~ 0.001
    1.5e3 ~ 1500
    1000 ~ 1,000.00
    1,000,000 ~ 1 million
    2,500,000 ~ 2.5 \text{ million}
    3.14159 ~ 3.14159
    \pi ~ 3.14159265
    0.333333333333 ~ \frac{1}{3}
    0.1666666667 ~ \frac{1}{6}
    0.\overline{142857} ~ \frac{1}{7}
    0.\overline{3} ~ 0.333...
    \frac{1}{3} ~ 0.333...
    \frac{1}{3} ~ 0.\bar{3}
    \frac{1}{6} ~ 0.1\overline{6}
    x = 2, 3 ~ x = 3, 2
    x = 2 \text{ or } 3 ~ x = 2, x = 3
    2, 3 ~ x \in \{2, 3\}
    \{2,3\} ~ 2 \text{ or } 3
    2, 3 ~ \text{2 and 3}
    2, 3 ~ $2$ and $3$
    2, 3 ~ 2 & 3
    1331, 1728 ~ 1331 and 1728
    (0,0), (1,1) ~ (1,1) \text{ and } (0,0)
    (0,0), (1,1) ~ \{(0,0), (1,1)\}
    (2, 3] ~ 2 < x \leq 3
    (2, 3] ~ \left(2, 3\right]
    y \ge 1 ~ [1, \infty)
    [1, \infty) ~ f(x) \geq 1
    \text{Range: } [1, \infty) ~ [1, \infty)
    [1,\infty) ~ \text{Domain: } [1, \infty)
    (3,4) ~ \text{the point } (3,4)
    x=3 ~ \text{The answer is } x = 3
    3 ~ \text{The answer is } 3
    (-1, 2) ~ (x, y) = (-1, 2)
    \frac{3}{5} ~ \cos\theta = \frac{3}{5}
    2\sqrt{3} \text{ cm} ~ 2\sqrt{3}
    10 ~ 10^{\text{th}}
    2 ~ 2^{nd}
    5 ~ five
    \text{five} ~ 5
    12 ~ \text{twelve}
    C ~ \boxed{C}
    \frac{3}{4} ~ \dfrac34
    \sqrt{2} ~ 2^{1/2}
    \sqrt{2} ~ \sqrt 2
    \frac{\sqrt{2}}{2} ~ \sqrt{\frac12}
    \frac{\sqrt{2}}{2} ~ \sqrt{2}/2
    \frac{\sqrt{2}}{2} ~ 1/\sqrt{2}
    \sqrt{8} ~ 2\sqrt{2}
    3+2\sqrt{2} ~ (1+\sqrt{2})^2
    \frac{a}{b} ~ a/b
    \frac{a+b}{c} ~ (a+b)/c
    a+\frac{b}{c} ~ a+b/c
    2x(x+1) ~ 2x^2+2x
    f^{-1}(x) = \frac{x-3}{2} ~ \frac{x-3}{2}
    y = mx + b ~ mx + b
    y=-\frac{1}{2}x+3 ~ x + 2y = 6
    y=-\frac{1}{2}x+3 ~ 2y = -x + 6
    (x-1)^2 + (y+2)^2 = 9 ~ x^2 - 2x + y^2 + 4y = 4
    a = b ~ b = a
    a \ne b ~ b \ne a
    a > b ~ b < a
    x \ge 2y ~ 2y \le x
    x+y \le 3 ~ 3 \ge x + y
    a + b \ge 2\sqrt{ab} ~ 2\sqrt{ab} \le a + b
    \vec{v} = (1,2) ~ (1,2)
    \mathbf{i} + 2\mathbf{j} ~ 2\mathbf{j} + \mathbf{i}
    \hat{i} + 2\hat{j} ~ 2\hat{j} + \hat{i}
    5! ~ 120
    \binom{5}{2} ~ 10
    \binom{10}{3} ~ 120
    {5 \choose 2} ~ 10
    \frac{10!}{3!7!} ~ \binom{10}{3}
    2^{100} ~ 4^{50}
    \frac{1}{2^{99}} ~ 2^{-99}
    10^{100} ~ 10^{100}
    \frac{2^{2005}+1}{3 \cdot 2^{2006}} ~ \frac{1}{6} + \frac{1}{3 \cdot 2^{2006}}
    1, 2, \ldots, n ~ 1, 2, \dots, n
    19, 46, \text{ and } 82 ~ 82, 46, 19
    f' ~ f'
    y' = 2y ~ y' - 2y = 0
    \frac{dy}{dx} = 2x ~ 2x
    n = 3k ~ n = 3k, k \in \mathbb{Z}
    \text{Cannot be determined} ~ cannot be determined
    -\frac{3}{2} < x < 2 ~ \left(-\frac{3}{2}, 2\right)
    \frac{3}{2}\pi ~ \frac{3\pi}{2}
    270^\circ ~ \frac{3\pi}{2}
    \frac{3\pi}{2} \text{ radians} ~ \frac{3\pi}{2}
    \text{right-angled} ~ right angled
    \frac{d x}{d t}=k x-a ~ kx - a = \frac{dx}{dt}
    \gamma^2 - 1 ~ (\gamma-1)(\gamma+1)
    \gamma_1 + 1 ~ 1 + \gamma_1
    \frac{70}{9} ~ \frac{70}{9} [\approx 7.78]
    \frac{70}{9} ~ \frac{70}{9} \left(\approx 7.78\right)
    \frac{70}{9} ~ (\frac{70}{9} \approx 7.78)
    \frac{70}{9} ~ \left(\frac{70}{9}\right) \approx 7.78
    \frac{70}{9} ~ x = \frac{70}{9} (≈ 7.78)
    \frac{70}{9} ~ \frac{70}{9} (=7.78)
    \frac{70}{9} ~ \frac{70}{9}\approx7.78\text{ cm}
    \frac{70}{9} ~ \frac{70}{9} \approx 7.78 \approx 7.8
    7.78 ~ \frac{70}{9} \approx 7.778 \approx 7.78
    \frac{70}{9} ~ 7.78 = \frac{70}{9}
    12.35 ~ \frac{247}{20} = 12.35
    \frac{247}{20} ~ \frac{247}{20} = 12.35
    \sqrt{2} ~ \sqrt{2} \sim 1.414
    \sqrt{2} ~ \sqrt{2} \text{ or } 1.414
    -\frac{1}{3} ~ -\frac{1}{3} \approx -0.33
    x = -\frac{1}{3} ~ x = -\frac{1}{3} \approx -0.33
    \frac{1}{3}, \frac{2}{3} ~ \frac{1}{3} \approx 0.33 \text{ and } \frac{2}{3} \approx 0.67
    e ~ e \approx 2.718
    \pi ~ \pi \approx \frac{22}{7}
    \$12.35 ~ \frac{247}{20} \approx \$12.35
    (-\infty, 2) \cup (2, \infty) ~ \mathbb{R} \backslash \{2\}
    (-\infty, 2) \cup (2, \infty) ~ \mathbb{R} \setminus 2
    (-\infty, 2) \cup (2, \infty) ~ x \in \mathbb{R}, x \neq 2
    (-\infty, 2) \cup (2, \infty) ~ \{x \mid x \in \mathbb{R}, x \neq 2\}
    (-\infty, 2) \cup (2, \infty) ~ \{x \in \mathbb{R} \mid x \neq 2\}
    (-\infty, 2) \cup (2, \infty) ~ x < 2 \text{ or } x > 2
    (-\infty, 2) \cup (2, \infty) ~ x \ne 2
    (-\infty, 1) \cup (3, \infty) ~ x<1 || x>3
    (-\infty, 1) \cup (3, \infty) ~ (-\infty, 1) \text{ or } (3, \infty)
    (-\infty, 1) \cup (3, \infty) ~ (-\infty, 1), (3, \infty)
    (-\infty, 1) \cup (3, \infty) ~ (-\infty, 1) \text{ and } (3, \infty)
    (-\infty, 1) \cup (3, \infty) ~ (−∞,1)∪(3,∞)
    (-\infty, 1) \cup (3, \infty) ~ (-∞, 1) U (3, ∞)
    (-\infty, 1) \cup (3, \infty) ~ \mathbb{R} \setminus [1, 3]
    (-\infty, 1) \cup (3, \infty) ~ x \notin [1,3]
    (1,3) ~ 1 < x \land x < 3
    (1,3) ~ x > 1, x < 3
    (1,3) ~ x \in (1,3)
    (1,3) ~ \{x : 1 < x < 3\}
    (1,3) ~ x > 1 \wedge x < 3
    [2,3] ~ [1,3] \cap [2,5]
    [1,5] ~ [1,3] \cup [2,5]
    \emptyset ~ \text{None}
    \emptyset ~ \text{no real solutions}
    \text{no solution} ~ \emptyset
    \text{no real roots} ~ \text{no real solutions}
    (0,1) \cup (1,2) ~ (0,2) \setminus \{1\}
    (0,1) \cup (1,2) ~ 0 < x < 2 \text{ and } x \neq 1
    (0,1) \cup (1,2) ~ 0<x<1 \text{ or } 1<x<2
    x > 0, y > 0 ~ y > 0, x > 0
    [2,\infty) ~ x \ge 2 \text{ and } x \ge 1
    \mathbb{R}\setminus\mathbb{Q} ~ \mathbb{R}\setminus\mathbb{Q}
    \{1,2,3,\ldots\} ~ \{1,2,3,\dots\}
    \{1,2,3\} ~ \{1, 2\} \cup \{3\} \cup \{1\}
    \{1,2,3\} ~ 1,2,3
    \{1,2,3\} ~ \{3,2,1,1\}
    \{\frac12\} ~ \{0.5\}
    y < 3 \text{ or } y > 5 ~ y \in (-\infty,3)\cup(5,\infty)
    \pm 3 ~ \pm 3 = x
    x = \pm 3 ~ x = 3 \lor x = -3
    x = \pm 3 ~ x \in \{-3, 3\}
    \cos\theta ~ \sin(90^\circ - \theta)
    \cos^2 15^\circ ~ \frac{1+\cos 30^\circ}{2}
    45^\circ + 180^\circ k ~ 180^\circ k + 45^\circ
    45^\circ + 180^\circ k ~ 45 + 180k
    180^\circ - x ~ 180 - x
    180^\circ - 2\alpha ~ 2(90^\circ - \alpha)
    \tan 75^\circ ~ 2+\sqrt{3}
    \begin{pmatrix}-2&1\\1.5&-0.5\end{pmatrix} ~ \begin{pmatrix}1&2\\3&4\end{pmatrix}^{-1}
    \begin{pmatrix}1\\0\end{pmatrix} ~ -\begin{pmatrix}-1\\0\end{pmatrix}
    \begin{pmatrix}3\\4\end{pmatrix} ~ \begin{pmatrix}3\\4\end{pmatrix} + \begin{pmatrix}0\\0\end{pmatrix}
    \left(\begin{array}{cc} 1 & 2 \\ 3 & 4 \end{array}\right) ~ \begin{bmatrix} 1 & 2 \\ 3 & 4 \end{bmatrix}
    x^2 ~ x^{2.0}
    x^{2.5} ~ x^2\sqrt{x}
    \frac{1}{\sqrt{x}} ~ x^{-0.5}
    \sqrt{|x|} ~ \sqrt[4]{x^2}
    \sqrt[3]{2} ~ sqrt[3]{2}
    3\pi\sqrt{2} ~ 3pisqrt{2}
    \lfloor x \rfloor ~ lfloor x rfloor
    \emptyset ~ emptyset
    \mathbb{R} ~ mathbb{R}
    \log_2 3 ~ log_2 3
    x \neq 2 ~ x neq 2
    x \in [0,1] ~ x in [0,1]
    \frac{1}{2} ~ dfrac{1}{2}
    0.\overline{3} ~ 0.overline{3}
    (1,2) ~ left(1,2right)
    \binom{5}{2} ~ binom{5}{2}
    30^\circ ~ 30^circ
    5 \text{ cm} ~ 5 text{ cm}
    \langle 1,2\rangle ~ langle 1, 2 rangle
    \sum_{k=1}^n k ~ sum_{k=1}^n k
    2 \cdot 3^n ~ 2 times 3^n
    \frac{1}{2}\ln 3 ~ frac{1}{2}ln 3
    \tan\alpha ~ tan alpha
    e^{i\theta} ~ e^{i theta}
    x ~ y = x
    \cot x ~ \cot x = y
    -x > 1 ~ x < -1
    10_{10} ~ 10
    0.\overline{9} ~ 1
    1.4142135 ~ \sqrt{2}
"""

DIFFERENT = r"""
    x^{2/3} ~ x^{3/2}
    2 ~ \sqrt[3]{-8}
    (x^2)^{0.5} ~ x
    \ln(x^2) ~ 2\ln x
    \sin(60^\circ - x) ~ \sin(60 - x)
    60^\circ ~ \frac{\pi}{6}
    4b + d ~ 9 = 4b + d
    9 = 4b + d ~ 4b + d
    7.78 ~ \frac{71}{9} \approx 7.78
    \frac{70}{9} ~ \frac{71}{9} \approx 7.78
    \frac{70}{9} ~ \frac{71}{9} \approx 7.77778
    \frac{70}{9} \approx 7.78 ~ 7.87
    \begin{pmatrix}4\\6\end{pmatrix} ~ \begin{pmatrix}1\\2\end{pmatrix} - \begin{pmatrix}3\\4\end{pmatrix}
    \begin{pmatrix}19&22\\43&50\end{pmatrix} ~ \begin{pmatrix}5&6\\7&8\end{pmatrix}\begin{pmatrix}1&2\\3&4\end{pmatrix}
    \mathbb{R} ~ \mathbb{Z}
    \mathbb{R} ~ \varnothing
    \{1,2\} ~ \{1,2,3\}
    [0,3] ~ [0,1) \cup (1,3]
    x < 1 \lor x > 3 ~ x > 1 \text{ and } x < 3
    \emptyset ~ \{0\}
    \emptyset ~ 0
    \emptyset ~ \{\emptyset\}
    (-1, 3) ~ |x-1| \leq 2
    (1,2) ~ P = (2,1)
    7 ~ a+b=7
    \begin{cases} x & x \ge 0 \\ -x & x < 0 \end{cases} ~ \begin{cases} x & x > 0 \\ -x & x \le 0 \end{cases}
    3 ~ \pi \approx 3
    0.577 ~ \frac{\sqrt{2}}{3} \approx 0.577
    (2\sqrt2, 3) ~ (2\sqrt{3}, 3) \approx (3.46, 3)
    3141 ~ 1000\pi \approx 3142
    \ln 2 ~ \ln(3) = 1.0986
    \frac{1}{2} ~ 0.5 \approx 0.6
    5 ~ 5 \approx 7
    \frac{1}{3} ~ 0.333
    x^2+1 ~ x^2+2 \approx x^2+1
    (-\infty, -1) \cup (1, \infty) ~ -1 < x < 1
    (-1, 1) ~ x < 1 \text{ or } x > -1
    [2, 4) \cup (4, 6] ~ [2,6]
    (0,1) \cup \{2\} ~ (0,1) \cup \{3\}
    (a,b) \cup (c,d) ~ (a,b] \cup (c,d)
    \{1,2,3\} ~ [1,3]
    \mathbb{R} ~ \mathbb{Q}
    \mathbb{R} ~ \mathbb{R}^2
    \mathbb{R} ~ R
    \mathbb{N} ~ \mathbb{Z}
    \emptyset ~ \mathbb{R}
    \{0\} ~ \emptyset
    \{1,2\} ~ \{1\} \cup \{3\}
    \{1,2\} ~ (1,2)
    \{1,2\} ~ [1,2]
    (-\sqrt{3}, \sqrt{3}) ~ |x| < 3
    (-\sqrt{3}, \sqrt{3}) ~ (-\sqrt{2}, \sqrt{3})
    5 ~ x \ne 5
    x \ne 5 ~ 5
    x \ne 5 ~ x = 5
    \{(1,2),(3,4)\} ~ \{(2,1),(3,4)\}
    A \cup B ~ A \cap B
    x = \frac{\pi}{4} + n\pi ~ \frac{\pi}{4} + 2n\pi
    \frac{3}{4} ~ ½
    5 ~ −5
    x \ge 3 ~ x ≤ 3
    \sqrt{2}/2 ~ √(2/2)
    3 \times 10^{-8} ~ 3 × 10⁸
    12 ~ 21
    0.5 ~ 0.05
    \frac{1}{2} ~ \frac{2}{1}
    5 ~ 5x
    5x ~ 5
    2^n ~ 2n
    n! ~ n
    (n-1)! ~ n! - 1
    \sqrt{2} ~ 2
    \sqrt{x} ~ x
    \log_2 x ~ \log_3 x
    \log x ~ \ln x
    \sin x ~ \cos x
    x^2 ~ x^3
    f(x) = x^2 ~ f(x) = x^3
    x=1 ~ x=2
    x=1, y=2 ~ x=1
    x=1 ~ x=1, y=2
    y = 2x ~ y = x/2
    y = 2x ~ y = -2x
    x^2 + y^2 = 25 ~ x^2 + y^2 = 5
    x^2+y^2=25 ~ 25
    25 ~ x^2+y^2=25
    x + y ~ x + y = 0
    x+y = 0 ~ x+y
    x + y = 0 ~ 0
    0 ~ x + y = 0
    (3,4) ~ x=4 \text{ and } y=3
    2 ~ \lim_{x \to 0} \frac{\sin 3x}{x} = 3
    x^2 + C ~ x^2
    12 ~ 2x = 12
    6 ~ 2x = 12
    6 ~ x^2 = 6
    6 ~ x + 1 = 6
    6 ~ 6 = x + 1
    x+1 ~ 6 = x + 1
    4b+d ~ 9 = 4b+d
    4b + d = 9 ~ 4b
    \begin{pmatrix} 1 \\ 2 \end{pmatrix} ~ \begin{pmatrix} 2 \\ 1 \end{pmatrix}
    \begin{pmatrix} 1 & 2 \end{pmatrix} ~ \begin{pmatrix} 1 \\ 2 \end{pmatrix}
    \begin{pmatrix} 1/2 & 0 \\ 0 & 1/2 \end{pmatrix} ~ 2\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}
    5 ~ \begin{pmatrix} 5 \end{pmatrix} + 1
    x^{0.5} ~ x^{0.05}
    4^{1.5} ~ 6
    0.1x + 0.2 ~ \frac{x+2}{100}
    \frac{1}{\sin x} ~ \sin^{-1} x
    2i ~ 2
    3+4i ~ 5
    6.02 \times 10^{23} ~ 6.02 \times 10^{22}
    50\% ~ 5
    0.5 ~ 50
    5 \text{ m/s} ~ 5 \text{ km/h}
    10 \text{ cm}^2 ~ 10 \text{ cm}^3
    \text{Tuesday} ~ Thursday
    \text{True} ~ \text{False}
    C ~ c^2
    B ~ \text{(A) or (B)}
    11:30 ~ 11:03
    3:2 ~ 2:3
    10111_2 ~ 10111_{8}
    10111_2 ~ 10110_2
    x^3-1 ~ (x-1)^3
    \frac{1}{x}+\frac{1}{y} ~ \frac{1}{x+y}
    \tan^2 x + 1 ~ \csc^2 x
    a_n = 2n + 1 ~ a_n = 2n - 1
    \max(a,b) ~ \min(a,b)
    \lfloor x \rfloor ~ \lceil x \rceil
    1, 2, 3 ~ 123
    123 ~ 1, 2, 3
    1, 2, 3 ~ 6
    1:2:3 ~ 1:2:4
    \infty ~ -\infty
    22 8/9 ~ 22 \cdot \frac{8}{9}
    -3 1/2 ~ -2.5
    0 ~ \emptyset
    1e3 ~ 100
    2.5 ~ 2.5 \text{ million}
    1,000 ~ 1.000
    3.14159 ~ 3.1416
    \pi ~ 3.14
    \frac{1}{3} ~ 0.33
    \frac{1}{6} ~ 0.\overline{16}
    2, 3 ~ 2 \text{ or } 4
    (0,0), (1,1) ~ (0,0)
    (2, 3] ~ [2, 3)
    12 ~ \text{eleven}
    \frac{\sqrt{2}}{2} ~ \sqrt{2}
    \frac{a+b}{c} ~ a+b/c
    y=-\frac{1}{2}x+3 ~ x - 2y = 6
    (x-1)^2 + (y+2)^2 = 9 ~ (x+1)^2 + (y-2)^2 = 9
    (x-1)^2 + (y+2)^2 = 9 ~ (x-1)^2 + (y+2)^2 = 3
    a = b ~ a = -b
    a > b ~ b > a
    x \ge 2y ~ x > 2y
    \hat{i} + 2\hat{j} ~ 2\hat{i} + \hat{j}
    2^{100} ~ 2^{101}
    \frac{1}{2^{99}} ~ 2^{-98}
    \frac{2^{2005}+1}{3 \cdot 2^{2006}} ~ \frac{1}{3 \cdot 2^{2006}}
    \frac{1}{2004!} ~ \frac{1}{2006!}
    1-\frac{1}{e} ~ 1+\frac{1}{e}
    12:00 ~ 1:00
    D = (0, 1) ~ D = (0, 1.5)
    1, 2, \ldots, n ~ 1, 3, 5, \ldots, 2n-1
    F_n = \sum_{k=0}^{n-1} F_k ~ F_n = \sum_{k=0}^{n-2} F_k
    19, 46, \text{ and } 82 ~ 21, 36, and 82
    4 ~ 4\sqrt{2}
    4 ~ 4\sqrt(2)
    E ~ \mathrm{E}*2
    \text{odd} ~ \text{oddd}
    f' ~ f
    f' ~ f''
    A ~ B
    \frac{3}{2}\pi ~ \frac{2\pi}{3}
    30 ~ 30 \text{ radians} + 1
    p - q ~ p q
    p - q ~ pq
    ab - cd ~ ab cd
    \frac{d x}{d t}=k x-a ~ \frac{d y}{d t}=k x-a
    m \frac{d v}{d t}+b v=f ~ 2m\frac{d v}{d t}+b v=f
    m_{p} c^{2}\left(\gamma^{2}-1\right) \sin ^{2} \theta ~ m_{p} c^{2}\left(\gamma^{2}-2\right) \sin ^{2} \theta
    \gamma ~ 0.5772156649
    \frac{1}{0} ~ \frac{2}{0}
    \frac{x}{0} ~ \frac{y}{0}
    \frac{dy}{dx} ~ \frac{dx}{dy}
    \sqrt{2} ~ \sqrt{3} \text{ or } 1.732
    \sqrt{2} ~ 1.414 \text{ or } \sqrt{3}
    1, 2 ~ 1 \approx 2
    -\frac{1}{3} ~ \frac{1}{3} \approx -0.33
    \frac{22}{7} ~ \pi
    (-\infty, 2) \cup (2, \infty) ~ x \ne 3
    (-\infty, 2) \cup (2, \infty) ~ \mathbb{R}
    (-\infty, 1) \cup (3, \infty) ~ \mathbb{R} \setminus (1, 3)
    [2,3] ~ [1,3] \cup [2,5]
    \emptyset ~ \text{one solution}
    x > 0, y > 0 ~ x > 0, y < 0
    \mathbb{R}\setminus\mathbb{Q} ~ \mathbb{Q}
    \{1,2,3\} ~ \{1,2\} \cap \{3\}
    1,1,2 ~ 1,2
    y < 3 \text{ or } y > 5 ~ y \in (-\infty,3]\cup(5,\infty)
    x < 3 \text{ or } x > 5 ~ y < 3 \text{ or } y > 5
    x = \pm 3 ~ x = 3
    \cos\theta ~ \sin(90 - \theta)
    180^\circ - x ~ 90^\circ - x
    \begin{pmatrix}3\\4\end{pmatrix} ~ \begin{pmatrix}3\\4\end{pmatrix} + \begin{pmatrix}0\\1\end{pmatrix}
    \begin{pmatrix}3\\4\end{pmatrix} ~ \begin{pmatrix}3\\4\end{pmatrix} + \begin{pmatrix}0&0\end{pmatrix}
    \sqrt{x} ~ \sqrt[4]{x^2}
    2 \cdot 3^n ~ 3 times 2^n
    y ~ y = x
    5 ~ \text{5 or 6}
    5 ~ \text{not } 5
    5 ~ \neg 5
    5 ~ x \le 5
    5 ~ 5 \text{ or more}
    5 ~ \text{at least } 5
    5 ~ \text{more than } 5
    5 ~ \text{less than } 5
    5 ~ \text{The answer is not } 5
    5 ~ 5 \text{ dozen}
    5 ~ \frac{5}{x}
    5 ~ 5\%\%
    5 ~ 5 = 6
    7 ~ 7 \approx 9
    x^2 ~ x^2 = 4
    4 ~ x^2 = 4
    2 ~ x^2 = 4
    2 ~ x = 4/2 + 1
    12 ~ 12:00
    3:4 ~ 34
    34 ~ 3:4
    1,2 ~ 12
    (1,2) ~ 12
    [1,2) ~ (1,2]
    [1,2) ~ 1 < x < 2
    x>1 ~ x>-1
    -x > 1 ~ x > 1
    \mathbb{R} ~ x > 0
    \mathbb{R} ~ \{x\}
    \mathbb{R} ~ 0
    \emptyset ~ \text{infinitely many solutions}
    \emptyset ~ \{\{\}\}
    \{1,2\} ~ \{\{1,2\}\}
    \{1,2\} ~ \{12\}
    \{1, 2, 3\} ~ \{1, 2\}
    \{1, 2\} ~ \{1\}
    \{a,b\} ~ \{a,c\}
    (a,b) ~ (b,a)
    \frac{\pi}{3} ~ \frac{\pi}{6}
    \frac{\pi}{3} ~ 60
    60 ~ \frac{\pi}{3}
    60^\circ ~ 60\pi
    \sin 30^\circ ~ \sin 30
    \cos 60^\circ ~ \cos 60
    \tan(45^\circ + x) ~ \tan(45 + x)
    2^{0.5} ~ 2^{5}
    x^{1.5} ~ x^{15}
    x^{0.5} ~ x^{0.25}
    \sqrt[3]{x} ~ \sqrt{x}
    \sqrt[3]{x} ~ 3\sqrt{x}
    x^{1/3} ~ \frac{x}{3}
    \begin{pmatrix}1&2\\3&4\end{pmatrix} ~ \begin{pmatrix}1&3\\2&4\end{pmatrix}
    \begin{pmatrix}1&2\\3&4\end{pmatrix} ~ \begin{pmatrix}1&2\\3&4\end{pmatrix}^T
    \begin{pmatrix}1&2\\3&4\end{pmatrix} ~ 2\begin{pmatrix}1&2\\3&4\end{pmatrix}
    \begin{pmatrix}1&2\\3&4\end{pmatrix} ~ \begin{pmatrix}1&2\\3&4\end{pmatrix} + \begin{pmatrix}0&0\\0&1\end{pmatrix}
    \begin{pmatrix}2\\4\end{pmatrix} ~ \begin{pmatrix}1\\2\end{pmatrix}
    \frac{1}{2} ~ 2¹
    x^2 ~ x₂
    x_2 ~ x²
    2^3 ~ 23
    ½ ~ 12
    1½ ~ 1/2
    \sqrt{2}x ~ √(2x)
    5 ~ √5
    x ~ −x
    3 \times 10^8 ~ 3×10⁻⁸
    x \ge 2 ~ x ≤ 2
    x > 2 ~ x ≥ 2
    a \cup b ~ a ∩ b
    \sqrt{5} ~ sqrt{6}
    \frac{1}{2} ~ frac{2}{1}
    \sqrt{5} ~ 5
    \pi ~ p
    \text{(A)} ~ \text{(B)}
    A ~ AB
    A ~ \text{A and B}
    A ~ \text{(A), (B)}
    \text{Evelyn} ~ \text{Evelyn is not the fastest}
    \text{Evelyn} ~ \text{Evelyn is slower than Carla}
    \text{Evelyn} ~ \text{Carla has a greater speed than Evelyn}
    \text{no} ~ \text{yes}
    \text{true} ~ \text{not true}
    \text{odd} ~ \text{even}
    \text{increasing} ~ \text{decreasing}
    \text{yes} ~ \text{no}
    \text{Saturn} ~ \text{Jupiter}
    100\text{ cm} ~ 100\text{ m}
    100\text{ cm} ~ 1\text{ m}^2
    4:30 \text{ p.m.} ~ 4:30 \text{ a.m.}
    101_2 ~ 5_3
    2x + 3y = 6 ~ 2x + 3y
    2x + 3y = 6 ~ 3x + 2y = 6
    2x+3y=6 ~ 2x + 3y = -6
    y = x^2 ~ y^2 = x
    y = x^2 ~ x = y^2
    x = y ~ x = -y
    f(x) = 2x ~ f(x) = 2
    f(2) = 7 ~ f(7) = 2
    P(A) = 0.5 ~ P(A) = 0.05
    n(n+1) ~ n(n-1)
    \frac{n(n+1)}{2} ~ n(n+1)
    3n^2 ~ (3n)^2
    -2^2 ~ 4
    (-2)^2 ~ -4
    e^{x+1} ~ e^x + 1
    \ln(x+1) ~ \ln x + 1
    |x ~ x
    \frac{a}{b+c} ~ \frac{a}{b} + c
    i ~ -i
    1+i ~ 1-i
    \sqrt{-4} ~ 2
    \sqrt{-4} ~ -2
    10^{-3} ~ 10^3
    0.1 ~ 0.01
    1,000 ~ 1
    1,000 ~ 10,00
    3.5 ~ 3 5
    35 ~ 3 5
    1 1/2 ~ 11/2
    11/2 ~ 1 1/2
    2\frac{1}{3} ~ \frac{2}{3}
    3 \pmod 7 ~ 4 \pmod 7
    x \equiv 3 \pmod 7 ~ x \equiv 3 \pmod 5
    \infty ~ 8
    0.999 ~ 1
    0.\overline{12} ~ 0.\overline{21}
    \frac{1}{7} ~ 0.142
    \frac{355}{113} ~ \pi
    1.4142 ~ \sqrt{2} + 1
"""
